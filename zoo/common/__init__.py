"""What every chapter would otherwise repeat: devices, data, operations, training, the terminal."""
