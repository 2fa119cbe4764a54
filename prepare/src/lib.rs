//! What the program beside this library does with a folder of pictures.

pub mod folder;
