"""What all tests share."""

from hypothesis import settings

settings.register_profile("study", deadline=None)  # a busy machine is no defect
settings.load_profile("study")
