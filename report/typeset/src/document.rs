//! A report as data: `pdf` and `html` print it.

/// A chart: its file name without extension, and its SVG.
pub(crate) struct Chart {
    pub(crate) name: String,
    pub(crate) svg: String,
}

/// A table; the first column holds words, the others numbers or words as `words` says.
pub(crate) struct Table {
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// How many of the first columns hold words.
    pub(crate) words: usize,
}

pub(crate) enum Block {
    Heading(String),
    Text(String),
    Table(String, Table),
    Chart(String, Chart),
}

pub(crate) struct Document {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    /// BCP 47.
    pub(crate) language: &'static str,
    pub(crate) figure: &'static str,
    pub(crate) table: &'static str,
    pub(crate) blocks: Vec<Block>,
}

impl Document {
    pub(crate) fn charts(&self) -> impl Iterator<Item = &Chart> {
        self.blocks.iter().filter_map(|b| match b {
            Block::Chart(_, chart) => Some(chart),
            _ => None,
        })
    }
}
