"""The file that runs in the model's environment, alone in its folder so that it shadows nothing."""
