"""What the launch files start: one node, activated by events, with the arguments that all of them take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from lifecycle_msgs.msg import Transition

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

SWITCH = ["true", "false"]
LEVELS = ["debug", "info", "warn", "error", "fatal"]


def describe(learner: str, executable: str = "face_emotion_node", own: Mapping[str, str] | None = None) -> LaunchDescription:
    """Returns what a launch file starts; `ros2 launch --show-args` lists the arguments.

    Args:
        learner: Registered name of the learner; that of the node, and of its file in ``config/``.
        executable: The node's program.
        own: Parameters of text that only this node has -> what they are; each becomes an argument.
    """
    more = own or {}
    file = PathJoinSubstitution([FindPackageShare("emotion_perception"), "config", f"{learner}.yaml"])
    return LaunchDescription(
        [
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node, and of the camera's topic."),
            DeclareLaunchArgument("params_file", default_value=file, description="File of parameters."),
            DeclareLaunchArgument("image_topic", default_value="image_raw", description="Topic of the pictures, without /compressed."),
            DeclareLaunchArgument("weights", default_value="", description="Folder of weights; empty: as the file of parameters says."),
            DeclareLaunchArgument(
                "device",
                default_value="",
                choices=["", "auto", "cpu", "cuda"],
                description="Where the network runs; empty: as the file of parameters says.",
            ),
            DeclareLaunchArgument(
                "autostart", default_value="true", choices=SWITCH, description="Configure and activate the node once it is there."
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="",
                choices=["", *SWITCH],
                description="Take the time from /clock (bags, simulations); empty: as the file of parameters says.",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                choices=LEVELS,
                description="Least level that is logged.",
            ),
            *(DeclareLaunchArgument(name, default_value="", description=words) for name, words in more.items()),
            OpaqueFunction(function=partial(start, learner=learner, executable=executable, own=tuple(more))),
        ]
    )


def start(context: LaunchContext, learner: str, executable: str, own: Sequence[str]) -> list[LaunchDescriptionEntity]:
    """Returns the node and what activates it, now that the arguments are known."""

    def given(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    # An argument that was left out must not hide what the file says. Values are text, also where they look like numbers.
    overrides = {name: ParameterValue(given(name), value_type=str) for name in ("weights", "device", *own) if given(name)}
    if given("use_sim_time"):
        overrides["use_sim_time"] = given("use_sim_time") == "true"
    node = LifecycleNode(
        package="emotion_perception",
        executable=executable,
        name=learner,
        namespace=given("namespace"),
        arguments=[learner],
        # The node would start itself, as it does without a launch file; here events do it.
        parameters=[given("params_file"), {**overrides, "autostart": False}],
        remappings=[("image_raw", given("image_topic"))],
        ros_arguments=["--log-level", given("log_level")],
        output="screen",
        emulate_tty=True,
    )
    if given("autostart") != "true":
        return [node]
    # Only from configuring, and only once: a node that somebody deactivates later stays inactive.
    activate = OnStateTransition(
        target_lifecycle_node=node,
        start_state="configuring",
        goal_state="inactive",
        entities=[EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=Transition.TRANSITION_ACTIVATE))],
        handle_once=True,
    )
    configure = ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=Transition.TRANSITION_CONFIGURE)
    return [RegisterEventHandler(activate), node, EmitEvent(event=configure)]
