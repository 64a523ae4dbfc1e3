"""Signal processing that several effects share: filters, sample recursions, spectral distances."""
