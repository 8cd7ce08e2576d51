"""What a person calls besides `check`: the commands, `check_calls`, their formats and kept inputs."""
