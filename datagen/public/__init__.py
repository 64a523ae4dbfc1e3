"""What ``import stemwright`` gives beyond the parts of single rooms: the jobs of a user, each from paths to a result.

mix_balance       how loud each stem of a recording is
song_groups       songs compared by year, genre or any column
song_stems        the stems of a recording
corpora           make a corpus, check it, write its report
song_edits        change a recording as a sentence says
sound_files       read sound files

Conventions
    Paths are strings or ``pathlib.Path``. A model is a name, or a separator that is used for several songs. Nothing here prints; errors
    are raised. These functions do what the verbs of the command line do, with the same parts.
"""
