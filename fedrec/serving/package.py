"""The served model as files: arrays and their meaning. Read on devices by numpy alone."""
