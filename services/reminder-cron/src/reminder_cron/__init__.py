"""Due work: what must happen because time has passed. Found by ticks, claimed by a row, told to the bus."""
