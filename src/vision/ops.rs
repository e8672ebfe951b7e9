//! Filters and shapes through OpenCV.
