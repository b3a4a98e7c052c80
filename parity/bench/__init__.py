"""Speed, size, load time and placement of what ships: measured, judged by budgets and against a baseline."""
