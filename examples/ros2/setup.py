"""A ROS 2 package (ament_python). The client comes from pip: in Telos's folder `pip install .` or `'.[grpc]'`."""

from setuptools import setup

setup(
    name="telos_planner",
    version="0.1.0",
    packages=["telos_planner"],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/telos_planner"]),
        ("share/telos_planner", ["package.xml"]),
    ],
    install_requires=["setuptools", "telos"],
    license="Apache-2.0",
    entry_points={"console_scripts": ["planner_node = telos_planner.node:main"]},
)
