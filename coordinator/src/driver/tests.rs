//! Tables for the driver.
