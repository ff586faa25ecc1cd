"""Nodes that wrap the learners. They run on ROS 2's rclpy, or without a ROS installation on the same wire."""
