"""Starts ESR's node for a camera: ros2 launch emotion_perception esr.launch.py image_topic:=/camera/color/image_raw.

The launch files of the other face learners include this one, with their name as `learner`.
"""

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

LEARNER = LaunchConfiguration("learner")
DEFAULT_FILE = [PathJoinSubstitution([FindPackageShare("emotion_perception"), "config", ""]), LEARNER, ".yaml"]
SWITCH = ["true", "false"]
LEVELS = ["debug", "info", "warn", "error", "fatal"]


def generate_launch_description() -> LaunchDescription:
    """Declares the arguments; `ros2 launch --show-args` lists them."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("learner", default_value="esr", description="Registered name of the learner, and name of the node."),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node, and of the camera's topic."),
            DeclareLaunchArgument("params_file", default_value=DEFAULT_FILE, description="File of parameters."),
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
                default_value="false",
                choices=SWITCH,
                description="Take the time from /clock (bags, simulations).",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                choices=LEVELS,
                description="Least level that is logged.",
            ),
            OpaqueFunction(function=start),
        ]
    )


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Returns the node and what activates it, now that the arguments are known."""

    def given(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    # An argument that was left out must not hide what the file says. Values are text, also where they look like numbers.
    overrides = {name: ParameterValue(given(name), value_type=str) for name in ("weights", "device") if given(name)}
    node = LifecycleNode(
        package="emotion_perception",
        executable="face_emotion_node",
        name=given("learner"),
        namespace=given("namespace"),
        arguments=[given("learner")],
        # The node would start itself, as it does without a launch file; here events do it.
        parameters=[given("params_file"), {**overrides, "autostart": False, "use_sim_time": given("use_sim_time") == "true"}],
        remappings=[("image_raw", given("image_topic")), ("image_raw/compressed", f"{given('image_topic')}/compressed")],
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
