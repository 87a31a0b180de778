//! A bundle on its way to a gateway: asked for piece by piece, so that it goes on after any cut where it was.

/// Most bytes of a piece.
pub const MAX_PIECE_BYTES: u32 = 64 * 1024;

/// The gateway asks for a piece of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceRequest {
    /// SHA-256 of the bundle.
    pub sha256: [u8; 32],
    /// Where in it.
    pub offset: u64,
    /// At most so many bytes.
    pub bytes: u32,
}

/// A piece of a bundle: at least one byte, and at most as many as were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// SHA-256 of the bundle.
    pub sha256: [u8; 32],
    /// Where in it.
    pub offset: u64,
    /// These.
    pub bytes: Vec<u8>,
}
