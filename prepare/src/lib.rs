//! What the program beside this library does with folders of pictures.
//!
//! | module | what it is |
//! |---|---|
//! | [`layout`] | folders, names and tables → pictures with what they say of each |
//! | [`survey`] | a look at every picture |
//! | [`copies`] | which pictures are one picture |
//! | [`split`] | which of them are for training, validation and testing |
//! | [`finds`] | what is wrong with a set of pictures |
//! | [`sheet`] | these finds as a page of small pictures |
//! | [`folder`] | pictures → an images artifact |

pub mod copies;
pub mod finds;
pub mod folder;
pub mod layout;
pub mod sheet;
pub mod split;
pub mod survey;
