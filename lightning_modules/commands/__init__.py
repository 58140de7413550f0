"""What the command line does: runs of Lightning's trainer, predictions into files, conversion, export."""
