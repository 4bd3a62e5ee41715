"""What the front and its engine say to each other. Of one version always: both are this installation."""
