"""The node: a camera topic in, a command a control step out."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import Twist
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from telos import ControlLoop, connect
from telos_planner.translation import LatestImage, fill_point, fill_twist


class PlannerNode(Node):
    """Acts on a timer of the model's control step, whether or not plans and images come."""

    def __init__(self) -> None:
        super().__init__("telos_planner")
        for name, default in (
            ("server", "http://127.0.0.1:8600"),
            ("model", "tworoom-lewm"),
            ("goal_image", "goal.png"),
            ("camera", "/camera/image_raw/compressed"),
            ("output", "twist"),
            ("fields", ["linear.x", "linear.y"]),
            ("joints", [""]),
            ("hold", [0.0, 0.0]),
            ("max_image_age_s", 0.5),
            ("timeout_s", 2.0),
        ):
            self.declare_parameter(name, default)
        self._image = LatestImage(self._value("max_image_age_s"))
        self._planner = connect(
            self._value("server"), token=os.environ.get("TELOS_TOKEN"), timeout_s=self._value("timeout_s")
        )
        self._loop = ControlLoop(
            self._planner,
            model=self._value("model"),
            goal=Path(self._value("goal_image")).read_bytes(),
            hold=np.asarray(self._value("hold")),
        )
        self._twist = self._value("output") == "twist"
        kind, topic = (Twist, "cmd_vel") if self._twist else (JointTrajectory, "joint_trajectory")
        self._commands = self.create_publisher(kind, topic, 1)
        self.create_subscription(CompressedImage, self._value("camera"), self._see, qos_profile_sensor_data)
        self._dt_s = self._loop.model.required_action.dt_ms / 1e3
        self.create_timer(self._dt_s, self._step)

    def close(self) -> None:
        """The last command is to hold."""
        self._publish(np.asarray(self._value("hold")))
        self._loop.close()
        self._planner.close()
        self.destroy_node()

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _see(self, message: CompressedImage) -> None:
        try:
            self._image.put(message, message.header.stamp.sec + message.header.stamp.nanosec / 1e9)
        except ValueError as error:
            self.get_logger().warning(f"image ignored: {error}", throttle_duration_sec=5.0)

    def _step(self) -> None:
        image = self._image.take(self.get_clock().now().nanoseconds / 1e9) if self._loop.uses_observation else None
        self._publish(self._loop.act(image))
        if self._loop.last_error is not None:
            self.get_logger().warning(f"no new plan: {self._loop.last_error}", throttle_duration_sec=1.0)

    def _publish(self, action: np.ndarray) -> None:
        if self._twist:
            twist = Twist()
            fill_twist(twist, self._value("fields"), action)
            self._commands.publish(twist)
            return
        joints = self._value("joints")
        point = JointTrajectoryPoint(time_from_start=Duration(seconds=self._dt_s).to_msg())
        fill_point(point, self._value("fields")[0], joints, action)
        self._commands.publish(JointTrajectory(joint_names=joints, points=[point]))


def main() -> None:
    rclpy.init()
    node = PlannerNode()
    try:
        rclpy.spin(node)
    except KeyboardInterrupt:
        pass
    finally:
        node.close()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
