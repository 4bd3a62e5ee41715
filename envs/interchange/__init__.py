"""Import and export of episodes as LeRobotDataset v3 and stable-worldmodel's HDF5, and previews of all layouts."""
