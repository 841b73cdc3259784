"""What is looked for: functions, numbers, trees of arrays, several of them by name; parametrizations."""
