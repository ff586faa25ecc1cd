"""What all learners and nodes share. It knows no model and no ROS."""
