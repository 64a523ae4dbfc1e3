"""Tables of names that no rule tells apart: what names no artist, acts whose name reads like a list of artists, given names.

Conventions
    Plain text as people write it; compared by ``stemwright.manifests.catalog.artists`` without case, accents and punctuation.
    The given names are the frequent ones of Western credits. They only decide whether "Smith, John" is one person or two artists, and
    whether the John of "John & Mary" is an artist by himself, so that a name which is missing here costs a tie too many.
"""

from __future__ import annotations

import re

NO_ARTIST = (
    "Various Artists|Various|VA|VVAA|Multiple Artists|Anonymous|Traditional|Soundtrack|Original Soundtrack|OST|"
    "Original Motion Picture Soundtrack|Original Cast|Original Broadway Cast|Original London Cast|Compilation|Sampler|Karaoke|"
    "Verschiedene|Verschiedene Interpreten|Verschiedene Künstler|Interprètes divers|Artistes variés|Artistes divers|Divers|"
    "Artisti diversi|Artisti vari|Varios artistas|Vários artistas|Diverse artiesten|Diverse artister|Różni wykonawcy|"
    "Разные исполнители|オムニバス|ヴァリアス・アーティスト|群星|合辑"
)
UNKNOWN = (
    "Unknown Artist|Unknown|No Artist|None|NA|Artist|Track Artist|Unbekannt|Unbekannter Interpret|Unbekannter Künstler|"
    "Artiste inconnu|Artista sconosciuto|Artista desconocido|Artista desconhecido|Неизвестный исполнитель|Неизвестен|不明なアーティスト|"
    "未知|"
    "未知艺术家"
)
NOBODY = re.split(  # parts that name no artist
    r"\|",
    "friends|co|company|others|orchestra|orchester|band|choir|chorus|ensemble|family|guests|more|guest|crew|strings|allstars|etal|"
    "jr|sr|iii|inc|special guests|special guest|the band|full orchestra|orchestra and chorus",
)
# Names with a separator in them. Any other name with one is a list of artists (see the head).
ONE_NAME = re.split(
    r"\|",
    "AC/DC|Above & Beyond|Aly & Fila|Amadou & Mariam|Angus & Julia Stone|Ashford & Simpson|Belle and Sebastian|Big & Rich|"
    "Brooks & Dunn|C+C Music Factory|Captain & Tennille|Chas & Dave|Chase & Status|Chad & Jeremy|Coheed and Cambria|Dan + Shay|"
    "Dance with the Dead|Daryl Hall & John Oates|Dead or Alive|Delaney & Bonnie|Derek and the Dominos|Dimitri Vegas & Like Mike|"
    "Echo & the Bunnymen|Eric B. & Rakim|Fitz and the Tantrums|Flatt & Scruggs|Florence and the Machine|For King & Country|"
    "Hall & Oates|Hootie & the Blowfish|Iron & Wine|Jan & Dean|Joey + Rory|K-Ci & JoJo|Katrina and the Waves|"
    "King Gizzard & the Lizard Wizard|Kool & the Gang|Kruder & Dorfmeister|Loggins & Messina|Love and Rockets|Macklemore & Ryan Lewis|"
    "Man with a Mission|Marina and the Diamonds|Matt & Kim|Medeski, Martin & Wood|Mel & Kim|Mike + The Mechanics|Mumford & Sons|"
    "Nico & Vinz|Of Mice & Men|Of Monsters and Men|Peaches & Herb|Peter & Gordon|Rodrigo y Gabriela|Sam & Dave|Seals & Crofts|"
    "She & Him|Simon & Garfunkel|Siouxsie and the Banshees|Sleeping with Sirens|Sly & Robbie|Smith & Wesson|Sonny & Cher|"
    "Tegan and Sara|Wisin & Yandel|Years & Years|Yusuf / Cat Stevens|Zager & Evans|Zion & Lennox|Lil Nas X|Little Feat|10,000 Maniacs|"
    "Beck, Bogert & Appice|Blood, Sweat & Tears|Crosby, Stills & Nash|Crosby, Stills, Nash & Young|Dave Dee, Dozy, Beaky, Mick & Tich|"
    "Earth, Wind & Fire|Emerson, Lake & Palmer|Lambert, Hendricks & Ross|Now, Now|Peter, Bjorn & John|Peter, Paul & Mary|"
    "Tyler, The Creator|West, Bruce & Laing|Wet, Wet, Wet",
)
# What one act is called beside its name: short forms that are not the initials of four words or more, which are found by themselves.
ALIASES = (
    "Crosby, Stills, Nash & Young|CSNY|CSN&Y|CSN & Y",
    "Crosby, Stills & Nash|CSN",
    "Emerson, Lake & Palmer|ELP|EL&P",
    "Daryl Hall & John Oates|Hall & Oates|Daryl Hall and Oates",
    "Earth, Wind & Fire|EWF|EW&F",
    "Peter, Paul & Mary|PP&M|PPM",
    "Electric Light Orchestra|ELO",
    "Nine Inch Nails|NIN",
    "Guns N' Roses|GNR",
    "Bachman-Turner Overdrive|BTO",
    "Creedence Clearwater Revival|CCR",
    "Blood, Sweat & Tears|BS&T",
    "Black Rebel Motorcycle Club|BRMC",
    "Everything but the Girl|EBTG",
    "Bone Thugs-n-Harmony|BTNH",
    "Ol' Dirty Bastard|Old Dirty Bastard|ODB",
    "The Notorious B.I.G.|Notorious BIG|Biggie Smalls",
    "2Pac|Tupac|Tupac Shakur",
    "Ke$ha|Kesha",
    "deadmau5|deadmaus",
    "Yusuf / Cat Stevens|Yusuf Islam|Cat Stevens",
)
# What an act calls its players behind a person's name: "The Jimi Hendrix Experience", "Bill Evans Trio".
ENSEMBLES = frozenset(
    re.split(
        r"\|",
        "band|bigband|group|trio|quartet|quintet|sextet|septet|octet|nonet|orchestra|orchester|orkester|orchestre|orquesta|ensemble|"
        "experience|project|combo|allstars|all-stars|singers|players|quartett|quintett|sextett|kvartett|kvintett|trío",
    )
)
# Behind a name in brackets: where it is from or what it does, not another name of it.
PLACES = frozenset(
    re.split(
        r"\|",
        "us|usa|uk|gb|jp|kr|de|fr|it|es|se|no|dk|fi|nl|be|at|ch|ca|au|nz|br|ru|pl|cz|ie|mx|ar|cn|tw|dj|mc",
    )
)
GIVEN_NAMES = frozenset(
    re.split(
        r"\|",
        "aaron|adam|alan|albert|alex|alexander|alfred|alice|allen|amanda|amy|andre|andrea|andreas|andrew|angela|ann|anna|anne|annie|"
        "anthony|antonio|arnold|art|arthur|artur|astrid|barbara|barry|bart|ben|benjamin|benny|bernard|bert|beth|betty|bill|billy|bob|"
        "bobby|brad|brenda|brett|brian|bruce|bryan|camille|carl|carla|carlos|carol|caroline|catherine|cecilia|charles|charlie|chet|"
        "chris|christian|christina|christine|christopher|chuck|claire|clara|claude|claudia|claudio|colin|connie|craig|curtis|dan|"
        "daniel|danny|dave|david|dean|debbie|deborah|denis|dennis|derek|diana|diane|dick|dmitri|dmitry|don|donald|donna|doris|dorothy|"
        "doug|douglas|duncan|earl|ed|eddie|edgar|edith|edward|edwin|elizabeth|ella|ellen|elmer|emil|emily|emma|enrico|eric|erik|ernest|"
        "etta|eugene|eva|evelyn|felix|fernando|florian|francis|francisco|franco|frank|frankie|franz|fred|freddie|freddy|frederic|"
        "friedrich|fritz|gabriel|gary|gene|geoff|george|georges|georg|gerald|gerard|gerry|giovanni|gino|giuseppe|glen|glenn|gloria|"
        "gordon|grace|graham|greg|gregory|gustav|guy|hank|hans|harold|harry|hector|helen|helmut|henri|henry|herbert|herman|howard|hugh|"
        "hugo|ian|igor|ingrid|irene|isaac|ivan|jack|jackie|jacob|jacques|jaime|jake|james|jan|jane|janet|janis|jason|jay|jean|jeff|"
        "jeffrey|jennifer|jenny|jeremy|jerome|jerry|jesse|jessica|jill|jim|jimi|jimmy|jo|joan|joanna|joe|joel|johan|johann|johannes|"
        "john|johnny|jon|jonas|jonathan|jordi|jorge|jose|josef|joseph|josh|joshua|juan|judy|julia|julian|julie|julio|karen|karl|kate|"
        "katherine|kathleen|kathy|katie|keith|kelly|ken|kenneth|kenny|kevin|kim|klaus|kris|kurt|lars|larry|laura|lauren|laurie|lee|leo|"
        "leon|leonard|leonardo|leroy|les|leslie|lester|lewis|linda|lisa|liz|lou|louis|louise|luca|lucas|lucia|lucy|ludwig|luigi|luis|"
        "luke|luther|lynn|manuel|marc|marco|marcus|margaret|maria|marianne|marie|mario|marion|mark|marlene|martha|martin|marvin|mary|"
        "mathias|matt|matthew|maurice|max|maxim|melissa|merle|michael|michel|michelle|miguel|mick|mike|mikhail|miles|mitch|molly|"
        "monica|morten|muddy|nancy|natalie|nat|neil|nick|nicholas|nicolas|nicole|niels|nikolai|nils|nina|noel|nora|norma|norman|oliver|"
        "olivia|oscar|oskar|otis|otto|pablo|pamela|pat|patricia|patrick|patti|patty|paul|paula|pauline|pavel|pedro|peggy|pete|peter|"
        "petra|phil|philip|philippe|pierre|quincy|rachel|ralph|ramon|randy|raul|ray|raymond|rebecca|rene|renee|ricardo|richard|rick|"
        "ricky|rita|rob|robbie|robert|roberta|roberto|robin|rod|roger|roland|rolf|ron|ronald|ronnie|rosa|rose|ross|roy|ruben|rudolf|"
        "rudolph|rudy|russell|ruth|ryan|sally|sam|samuel|sandra|sandy|sara|sarah|scott|sean|sebastian|serge|sergei|sharon|shawn|sheila|"
        "sidney|simon|sofia|sonny|sophie|stan|stanley|stefan|stella|stephanie|stephen|steve|steven|stevie|stuart|sue|susan|suzanne|"
        "sven|sylvia|taylor|ted|terence|teresa|terry|theodore|theresa|thomas|tim|timothy|tina|todd|tom|tomas|tommy|tony|tracy|trevor|"
        "ulrich|ursula|valerie|van|vera|vernon|vic|victor|victoria|vincent|viola|virginia|vladimir|wallace|walter|warren|wayne|wendy|"
        "werner|wilhelm|will|william|willie|willy|wolfgang|woody|yves|yvonne|zoe",
    )
)
