//! The blocks of a decoder, after each of which the residual stream can be looked at.

use std::fmt;

/// A part of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Block {
    /// The embedding.
    Embedding,
    /// The attention of a layer, counted from 0, with the norm before it.
    Attention(usize),
    /// The MLP of a layer, with the norm before it.
    Mlp(usize),
    /// The final norm and the LM head.
    Head,
}

impl Block {
    /// The block of this number in the order of computation, from 0, in a model of `layers` layers.
    pub(crate) fn at(number: usize, layers: usize) -> Block {
        match number {
            0 => Block::Embedding,
            n if n > 2 * layers => Block::Head,
            n if n % 2 == 1 => Block::Attention(n / 2),
            n => Block::Mlp(n / 2 - 1),
        }
    }

    /// How many blocks a model has.
    pub(crate) fn count(layers: usize) -> usize {
        2 * layers + 2
    }

    /// Whether both do the same in their layers.
    pub(crate) fn is_like(self, other: Block) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// The layer, for a block of one.
    pub fn layer(self) -> Option<usize> {
        match self {
            Block::Attention(layer) | Block::Mlp(layer) => Some(layer),
            Block::Embedding | Block::Head => None,
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Block::Embedding => f.write_str("embedding"),
            Block::Attention(layer) => write!(f, "layer {layer}, attention"),
            Block::Mlp(layer) => write!(f, "layer {layer}, MLP"),
            Block::Head => f.write_str("norm and LM head"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_in_the_order_of_computation() {
        let names: Vec<String> = (0..Block::count(2)).map(|n| Block::at(n, 2).to_string()).collect();
        let expected = [
            "embedding",
            "layer 0, attention",
            "layer 0, MLP",
            "layer 1, attention",
            "layer 1, MLP",
            "norm and LM head",
        ];
        assert_eq!(names, expected);
    }
}
