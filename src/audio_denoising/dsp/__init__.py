"""Signal processing around the network: spectrogram images, windows of long signals, resampling."""
