"""The pages that hold measured figures, put together from what is stored and from prose that holds whatever it says."""
