"""What a project needs outside of it: doctor looks at it, apply makes what is missing."""
