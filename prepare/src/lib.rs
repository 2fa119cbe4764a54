//! What the program beside this library does with a folder of pictures, and with weights of an unknown network.

pub mod draft;
pub mod folder;
