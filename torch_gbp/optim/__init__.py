"""Message passing as a torch optimizer: stores, steps, schedules, checks."""
