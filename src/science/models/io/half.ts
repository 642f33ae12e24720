/** Widens the 16-bit floats of checkpoints to float32. Both conversions are exact. */

/** IEEE 754 binary16 → binary32. */
export function widenFloat16(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  const words = new Uint32Array(out.buffer);
  for (let i = 0; i < bits.length; i++) {
    const h = bits[i]!,
      sign = (h & 0x8000) << 16,
      exponent = (h >>> 10) & 0x1f,
      fraction = h & 0x3ff;
    if (exponent === 0)
      out[i] = (sign === 0 ? 1 : -1) * fraction * 2 ** -24; // zero and subnormals
    else
      words[i] = (sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (fraction << 13)) >>> 0;
  }
  return out;
}

/** bfloat16 → binary32, of which it is the upper half. */
export function widenBfloat16(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  const words = new Uint32Array(out.buffer);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  return out;
}
