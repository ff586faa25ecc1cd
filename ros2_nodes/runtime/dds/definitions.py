"""Message and service definitions that the typestore of rosbags lacks.

Written out from the field lists of vision_msgs 4.1, hri_msgs 2.0 (REP-155), std_srvs, lifecycle_msgs and rcl_interfaces. Only the
structure enters a type's hash, names of fields included, comments and constants not; equal hashes prove that it is the same type.
"""

from __future__ import annotations

_EXPRESSIONS = """
neutral angry sad happy surprised disgusted scared pleading vulnerable despaired guilty disappointed embarrassed horrified skeptical annoyed
furious suspicious rejected bored tired asleep confused amazed excited
"""

MESSAGES: dict[str, str] = {
    "vision_msgs/msg/Point2D": "float64 x\nfloat64 y",
    "vision_msgs/msg/Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "vision_msgs/msg/BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "vision_msgs/msg/ObjectHypothesis": "string class_id\nfloat64 score",
    "vision_msgs/msg/ObjectHypothesisWithPose": "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose",
    "vision_msgs/msg/Classification": "std_msgs/Header header\nvision_msgs/ObjectHypothesis[] results",
    "vision_msgs/msg/Detection2D": (
        "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\nvision_msgs/BoundingBox2D bbox\nstring id"
    ),
    "vision_msgs/msg/Detection2DArray": "std_msgs/Header header\nvision_msgs/Detection2D[] detections",
    "vision_msgs/msg/VisionClass": "uint16 class_id\nstring class_name",
    "vision_msgs/msg/LabelInfo": "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold",
    "vision_msgs/msg/VisionInfo": "std_msgs/Header header\nstring method\nstring database_location\nint32 database_version",
    "hri_msgs/msg/Expression": "\n".join(
        [
            *(f'string {word.upper()}="{word}"' for word in _EXPRESSIONS.split()),
            "std_msgs/Header header\nstring expression\nfloat32 valence\nfloat32 arousal\nfloat32 confidence",
        ]
    ),
    "hri_msgs/msg/IdsList": "std_msgs/Header header\nstring[] ids",
    "hri_msgs/msg/NormalizedRegionOfInterest2D": (
        "std_msgs/Header header\nfloat32 xmin\nfloat32 ymin\nfloat32 xmax\nfloat32 ymax\nfloat32 c"
    ),
    "hri_msgs/msg/NormalizedPointOfInterest2D": "float32 x\nfloat32 y\nfloat32 c",
    "hri_msgs/msg/NormalizedPointOfInterest2DStamped": "std_msgs/Header header\nfloat32 x\nfloat32 y\nfloat32 c",
    "hri_msgs/msg/FacialLandmarks": (
        "std_msgs/Header header\nhri_msgs/NormalizedPointOfInterest2D[70] landmarks\nuint32 height\nuint32 width"
    ),
    "hri_msgs/msg/FacialActionUnits": "std_msgs/Header header\nfloat32[99] intensity\nfloat32[99] confidence",
    "hri_msgs/msg/SoftBiometrics": (
        "uint8 UNDEFINED=0\nuint8 FEMALE=1\nuint8 MALE=2\nuint8 OTHER=3\n"
        "std_msgs/Header header\nuint8 age\nfloat32 age_confidence\nuint8 gender\nfloat32 gender_confidence"
    ),
    "hri_msgs/msg/LiveSpeech": "std_msgs/Header header\nstring incremental\nstring final\nfloat64 confidence\nstring language",
    "hri_msgs/msg/IdsMatch": (
        "int8 UNSET=0\nint8 PERSON=1\nint8 FACE=2\nint8 BODY=3\nint8 VOICE=4\n"
        "string id1\nint8 id1_type\nstring id2\nint8 id2_type\nfloat32 confidence"
    ),
    "hri_msgs/msg/EngagementLevel": (
        "uint8 UNKNOWN=0\nuint8 DISENGAGED=1\nuint8 ENGAGING=2\nuint8 ENGAGED=3\nuint8 DISENGAGING=4\nstd_msgs/Header header\nuint8 level"
    ),
}

# Request and response, with ROS's separator between them.
SERVICES: dict[str, str] = {
    "std_srvs/srv/Empty": "---",
    "std_srvs/srv/SetBool": "bool data\n---\nbool success\nstring message",
    "std_srvs/srv/Trigger": "---\nbool success\nstring message",
    "lifecycle_msgs/srv/ChangeState": "lifecycle_msgs/Transition transition\n---\nbool success",
    "lifecycle_msgs/srv/GetState": "---\nlifecycle_msgs/State current_state",
    "lifecycle_msgs/srv/GetAvailableStates": "---\nlifecycle_msgs/State[] available_states",
    "lifecycle_msgs/srv/GetAvailableTransitions": "---\nlifecycle_msgs/TransitionDescription[] available_transitions",
    "rcl_interfaces/srv/GetParameters": "string[] names\n---\nrcl_interfaces/ParameterValue[] values",
    "rcl_interfaces/srv/GetParameterTypes": "string[] names\n---\nuint8[] types",
    "rcl_interfaces/srv/SetParameters": "rcl_interfaces/Parameter[] parameters\n---\nrcl_interfaces/SetParametersResult[] results",
    "rcl_interfaces/srv/SetParametersAtomically": "rcl_interfaces/Parameter[] parameters\n---\nrcl_interfaces/SetParametersResult result",
    "rcl_interfaces/srv/ListParameters": (
        "uint64 DEPTH_RECURSIVE=0\nstring[] prefixes\nuint64 depth\n---\nrcl_interfaces/ListParametersResult result"
    ),
    "rcl_interfaces/srv/DescribeParameters": "string[] names\n---\nrcl_interfaces/ParameterDescriptor[] descriptors",
}

# rosbags drops the default values of fields, which rclpy honours.
DEFAULTS: dict[str, dict[str, object]] = {"geometry_msgs/msg/Quaternion": {"w": 1.0}}
