"""Blind estimates: settings of a stem without its dry signal, relative to a profile of many songs."""
