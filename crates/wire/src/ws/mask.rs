//! XOR with the 4-byte mask key, the one loop that touches every received byte.

/// Masks or unmasks `payload` in place; `offset` is the position of its first byte in the frame's payload.
///
/// The key is widened to sixteen bytes, so that the compiler turns the body of the loop into vector instructions.
pub fn apply_mask(payload: &mut [u8], key: [u8; 4], offset: usize) {
    let mut rotated = [0; 4];
    for (index, byte) in rotated.iter_mut().enumerate() {
        *byte = key[(offset + index) & 3];
    }
    let mut repeated = [0; 16];
    for (index, byte) in repeated.iter_mut().enumerate() {
        *byte = rotated[index & 3];
    }
    let wide = u128::from_ne_bytes(repeated);
    let mut chunks = payload.chunks_exact_mut(16);
    for chunk in &mut chunks {
        let bytes: &mut [u8; 16] = chunk.try_into().expect("chunks_exact gives 16 bytes");
        *bytes = (u128::from_ne_bytes(*bytes) ^ wide).to_ne_bytes();
    }
    for (index, byte) in chunks.into_remainder().iter_mut().enumerate() {
        *byte ^= rotated[index & 3];
    }
}
