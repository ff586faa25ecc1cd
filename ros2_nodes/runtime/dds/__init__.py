"""The twin of rclpy over Eclipse Cyclone DDS, one noun a file. Importing `messages` needs no Cyclone DDS, everything else does."""
