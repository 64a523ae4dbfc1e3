"""The words of edits: which phrases are of which kind. ``patterns.py`` orders the kinds; both are read and written from these tables.

Conventions
    A phrase is written in lower case without articles, unless an article is part of it ("a bit"). Kinds that come in two directions are
    written as "V+" and "V-". A phrase may be of several kinds ("lower": a verb, and a comparative); a longer phrase wins over a shorter.
    A word that is in no table makes a text no edit: nothing is skipped but ``FILLERS`` and articles. So "not", "never", "undo", names of
    instruments without a stem, of sections, of times and of other effects are refused, since they are nowhere here.

Sources
    Words of mixers: AMSS-Net (Choi et al. 2021) for the first of each table; De Man et al. 2017 and the manuals of mixing consoles for the
    others. Words of sounds are those of Audealize (Seetharaman and Pardo 2016) and SocialEQ (Cartwright and Pardo 2013).
"""

from __future__ import annotations

PHRASES: dict[str, str] = {
    # volume: verbs, verbs that need "up" or "down", comparatives, quantities, particles
    "V+": "increase|raise|boost|turn up|bring up|push up|bump up|crank up|pump up|lift|lift up|amplify|nudge up|dial up|"
    "jack up|kick up|push|bump|crank|up|move up|gain up",
    "V-": "decrease|reduce|lower|attenuate|turn down|bring down|pull down|pull back|dial down|dial back|back off|ease off|"
    "ease back|scale back|nudge down|tone down|"
    "push down|soften|"
    "quieten|quiet down|dip|diminish|move down",
    "C": "cut|trim|duck|drop|cut down|cut back|take down|knock down",  # without an amount they may mean to mute
    "T": "turn|kick|nudge|bring|push|pull|bump|crank|dial|move|put|take|get|knock",
    "P+": "up|forward|up front|upfront|to front|in front|further up|up in mix|higher in mix",
    "P-": "down|down in mix|lower|lower in mix",
    "PB": "pull|dial|push|move|ease|knock",  # with "back"; to bring back is to restore
    "BACK": "back",
    "L+": "louder|more loud|less quiet|stronger|hotter|more audible|more prominent|higher in mix",
    "L-": "quieter|softer|less loud|more quiet|weaker|lower|less prominent",
    "M+": "more|more of|some more",
    "M-": "less|less of|fewer",
    "VOL": "volume of|level of|loudness of|gain of|levels of|volume on|level on|gain on|volume for|fader of|fader for",
    "VOLN": "volume|level|levels|loudness|gain|fader",
    "N+": "boost|lift|bump|increase|push|raise",
    "N-": "cut|reduction|dip|drop|decrease|attenuation",
    "NEED": "need|needs|could use|should have|should get",
    "X2": "twice as loud|two times as loud|double as loud",
    "X/2": "half as loud|at half volume|at half level",
    "DOUBLE": "double|twice",
    "HALVE": "halve|half|half volume of|half level of",
    "HALF": "by half|by a half|in half|by one half",
    "TOO": "too",
    "TM-": "too much|too much of|too many|there is too much|there's too much|there are too many",
    "TM+": "not enough|not enough of|too little|there is not enough|there's not enough|there isn't enough|there is too little",
    "NE+": "not loud enough|aren't loud enough|isn't loud enough|are not loud enough|is not loud enough",
    "NE-": "not quiet enough|aren't quiet enough|isn't quiet enough|are not quiet enough|is not quiet enough",
    "LD+": "loud|hot|prominent|present|high",
    "LD-": "quiet|soft|low|buried",
    "SET": "set|bring|put|turn",
    "TAKE": "take|knock|pull|shave|subtract",
    "GIVE": "give",
    # presence
    "MU": "mute|remove|get rid of|eliminate|silence|kill|delete|erase|take out|take away|cut out|leave out|strip out|strip|"
    "lose|ditch|drop out|"
    "exclude|discard|disable|scrap|wipe|wipe out|strip away",
    "MUTED": "muted|silenced|gone|removed|turned off",
    "OFFV": "turn off|switch off|shut off",
    "SW": "turn|switch",
    "OFF": "off",
    "OUTV": "take|get|leave|strip|pull",
    "OUT": "out|away|out of mix|out of song|out of track|out of recording",
    "WO": "without|no|no more|with no|minus|without any|sans",
    "KAR": "karaoke|instrumental",
    "ACAP": "a cappella|acapella|acappella|a capella|a cappela|accapella|acapela",
    "VERSION": "version|mix|track",
    "ISO": "separate|isolate|extract|solo|separate out|single out",
    "ONLY": "only|just|nothing but|nothing except|solely",
    "JUST": "just",
    "ALONE": "alone|on its own|on their own|by itself|by themselves|isolated|in isolation",
    "KEEP": "keep|leave|play|let me hear|hear|want to hear|listen to",
    "LET": "keep|play|let me hear|hear|want to hear",
    # place
    "PAN": "pan",
    "MOVE": "move|put|shift|place|send|slide|pull|push",
    "CENTREV": "centre|center",
    "MID": "dead centre|dead center|centre|center|middle|centred|centered",
    "LEFT": "left|l|left side|left channel|left hand side|left speaker",
    "RIGHT": "right|r|right side|right channel|right hand side|right speaker",
    "FULL": "completely|hard|fully|all the way|entirely|totally|full",
    "HALFWAY": "halfway|half way|half",
    "TO": "to|on|in|into|onto|at|for|towards|toward|over to|of|through",
    "FROM": "from|off|out of|on|in|of|off of",
    # effects
    "APPLY": "apply|put|add|use|insert",
    "RUN": "run|put|send",
    "LP": "lowpass|low pass|lowpass filter|low pass filter|lpf|high cut|high cut filter",
    "HP": "highpass|high pass|highpass filter|high pass filter|hpf|low cut|low cut filter",
    "DE": "demud|clean mud out of|clean up mud in",
    "ROLL": "roll off|filter out",
    "HIGHS": "highs|high end|top end|high frequencies|treble",
    "LOWS": "lows|low end|bottom end|low frequencies",
    "REV": "reverb|reverberation|verb",
    "DRY": "dry|dry up|drier|dryer|less wet|less reverberant|less reverby",
    "WET": "wetter|more reverberant|more reverby|roomier",
    "WC+": "wider|more wide",
    "WC-": "narrower|more narrow|less wide",
    "WV+": "widen|widen out|spread|spread out",
    "WV-": "narrow|narrow down",
    "WN": "width|stereo width",
    "MONO": "mono|in mono",
    "CV": "compress",
    "CN": "compression|a compressor|compressor",
    "PUNCH": "punchier|more punchy|more compressed",
    "PUNCHN": "punch",
    # words that join
    "MAKE": "make|get",
    "IT": "it|them|those|these",
    "SHOULD": "should be|need to be|needs to be|could be|must be|have to be|has to be|should sound|to be|should go|"
    "should come|to go|to come|go|come",
    "ARE": "is|are|sound|sounds",
    "SEP": "and|,|&|/|as well as|along with|also|together with|plus|+|while|whilst|but",
    "END": ";|.|!|?|then|and then|after that|afterwards|finally|next",
    "ALL": "everything|all|all stems|all tracks|everything in mix|mix|master|whole track|entire track|whole song|all of it|all parts",
    "INSTRUMENTS": "all instruments|all the instruments|all other instruments|all the other instruments|instruments|"
    "every instrument|every other instrument",
    "EXC": "but|except|except for|apart from|besides|other than|excluding|bar|aside from|save for",
    "REST": "rest|everything else|all others|all else|all the others|all of the others|other stems|all other stems",
    "ACC": "accompaniment|backing|backing track|backing tracks|backing music|instrumental|instrumentals|instrumental track|"
    "background music",
}
FILLERS = (
    "please|can you|could you|would you|will you|can we|could we|i want|i want you to|i'd like|i would like|i'd like you to|"
    "i would like you to|"
    "i'd like to|i would like to|i need|i need you to|i want to|we need|we want|want|i|let's|lets|let us|for me|for now|now|thanks|"
    "thank you|kindly|"
    "in mix|in song|in the mix|in the song|in this song|from mix|from song|from the mix|from the song|from this song|"
    "from track|from the track|"
    "of mix|of the mix|of song|of the song|of track|of the track|from recording|from the recording|in track|in the track|"
    "give me|gimme|show me|"
    "song|the song|this song|version of|version|overall|hey|ok|okay|simply|go ahead and|a version|"
    "play it|play song|in total|:"
)
ARTICLES = frozenset(
    ("the", "a", "an", "my", "this", "that", "our", "your", "his", "her", "their", "some", "any", "whole", "entire", "both")
)

SYNONYMS: dict[str, str] = {  # how people call stems; a stem that is itself called so goes first
    "vocals": "vocals|vocal|vox|voice|voices|singer|singers|singing|vocalist",
    "drums": "drums|drum|drummer|drum kit|drumkit|drum set|drumset|percussion|drum section",
    "bass": "bass|basses|bassline|bass line|bass guitar|bassist|bass player",
    "other": "other",
    "guitar": "guitar|guitars|guitarist|gtr|gtrs",
    "piano": "piano|pianos|pianist",
}
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {  # a part of a stem: the stem, the names of a stem that is the part itself
    **dict.fromkeys(("kick drum", "kick drums", "bass drum", "bass drums"), ("drums", ("kick",))),
    **dict.fromkeys(("snare drum", "snare drums", "snare", "snares"), ("drums", ("snare",))),
    **dict.fromkeys(("hi hat", "hi hats", "hihat", "hihats", "hat", "hats"), ("drums", ("hihat", "hi-hat", "hats"))),
    **dict.fromkeys(("cymbal", "cymbals"), ("drums", ("cymbals",))),
    **dict.fromkeys(("tom", "toms", "tom toms"), ("drums", ("toms",))),
    **dict.fromkeys(("lead vocals", "lead vocal", "lead vox", "lead voice", "lead singer"), ("vocals", ("lead vocals", "lead"))),
    **dict.fromkeys(("main vocals", "main vocal", "main voice", "main singer"), ("vocals", ("lead vocals", "lead"))),
    **dict.fromkeys(("backing vocals", "backing vocal", "background vocals", "backup vocals"), ("vocals", ("backing vocals",))),
    **dict.fromkeys(("lead guitar", "lead guitars"), ("guitar", ("lead guitar",))),
    **dict.fromkeys(("rhythm guitar", "rhythm guitars"), ("guitar", ("rhythm guitar",))),
}
PART_WORDS = frozenset(("track", "tracks", "stem", "stems", "part", "parts", "channel", "channels", "line", "lines", "section"))

DEGREE_WORDS = {
    "slightly": "slightly|a tiny bit|a bit|a little|a little bit|a touch|a tad|a hair|a smidge|a smidgen|somewhat|gently|subtly|lightly|"
    "bit|little|a notch|"
    "just a bit|just a little|just a touch|just slightly|a wee bit|by a bit|by a little|a shade|marginally",
    "a lot": "a lot|much|way|far|lots|considerably|significantly|heavily|drastically|strongly|substantially|by a lot|"
    "a great deal|loads|very much|"
    "dramatically|so much|a whole lot|a good deal|a ton|tons|lots of|a lot of",
}
STRENGTH_WORDS = {
    "light": "light|gentle|subtle|soft|slight|mild|little|a little|a bit of|a little bit of|a touch of",
    "medium": "medium|moderate",
    "heavy": "heavy|strong|steep|extreme|a lot of|lots of|tons of",
}
EQ_FORMS: dict[str, tuple[str, str, str, str]] = {  # word: adjective, comparative, verb, noun
    "bright": ("bright", "brighter", "brighten|brighten up", "brightness|sparkle|treble|highs|high end|top end"),
    "dark": ("dark", "darker", "darken", "darkness"),
    "warm": ("warm", "warmer", "warm up|warm", "warmth"),
    "cold": ("cold", "colder", "", "coldness"),
    "clear": ("clear", "clearer", "", "clarity"),
    "crisp": ("crisp", "crisper", "", "crispness"),
    "harsh": ("harsh", "harsher", "", "harshness"),
    "mellow": ("mellow", "mellower", "", "mellowness"),
    "muddy": ("muddy", "muddier", "", "mud|muddiness"),
    "smooth": ("smooth", "smoother", "smooth|smooth out", "smoothness"),
    "tinny": ("tinny", "tinnier", "", "tinniness"),
    "airy": ("airy", "airier", "", "air|airiness"),
    "deep": ("deep", "deeper", "deepen", "depth"),
    "heavy": ("heavy", "heavier", "", "heaviness"),
    "full": ("full", "fuller", "", "fullness|low end|lows|bottom end"),
}
NUMBERS = {
    "zero": 0.0,
    "one": 1.0,
    "two": 2.0,
    "three": 3.0,
    "four": 4.0,
    "five": 5.0,
    "six": 6.0,
    "seven": 7.0,
    "eight": 8.0,
    "nine": 9.0,
    "ten": 10.0,
    "eleven": 11.0,
    "twelve": 12.0,
    "thirteen": 13.0,
    "fourteen": 14.0,
    "fifteen": 15.0,
    "sixteen": 16.0,
    "seventeen": 17.0,
    "eighteen": 18.0,
    "nineteen": 19.0,
    "twenty": 20.0,
    "thirty": 30.0,
    "forty": 40.0,
    "fifty": 50.0,
    "hundred": 100.0,
    "half": 0.5,
    "couple": 2.0,
    "few": 3.0,
}
BEFORE_NUMBERS = frozenset(("by", "about", "around", "roughly", "approximately", "another", "extra", "additional", "exactly"))
WITHOUT = {"drumless": "drums", "bassless": "bass", "guitarless": "guitar", "pianoless": "piano", "vocalless": "vocals"}
DECIBELS = frozenset(("db", "dbs", "decibel", "decibels"))
PER_CENT = frozenset(("%", "percent", "pct"))
HERTZ = {"hz": 1.0, "hertz": 1.0, "khz": 1000.0, "kilohertz": 1000.0, "k": 1000.0}
