//! Which OpenCV the program runs with.

/// The version of the OpenCV library that was loaded, such as `4.6.0`.
pub fn opencv_version() -> String {
    let (major, minor) = (opencv::core::get_version_major(), opencv::core::get_version_minor());
    let revision = opencv::core::get_version_revision();
    [major, minor, revision].map(|v| v.to_string()).join(".")
}
