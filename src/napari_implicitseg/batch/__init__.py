"""Jobs over the blocks of volumes of any size."""
