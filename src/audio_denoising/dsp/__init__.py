"""Signal processing around the network: spectra and their images, levels, rates, measures."""
