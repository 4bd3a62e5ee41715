"""Episodes in and out of the layouts of others: LeRobotDataset v3 and stable-worldmodel's HDF5, and previews of any."""
