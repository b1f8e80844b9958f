/** A vector as it is stored and compared: float32, of length 1; zeros stay zeros. */
export function toUnit(values: ArrayLike<number>): Float32Array {
  const vector = Float32Array.from(values);
  const length = Math.hypot(...vector);
  return length > 0 ? vector.map((value) => value / length) : vector;
}

/**
 * The cosine of two vectors of unit length. Four sums side by side: one alone would wait for itself at each step.
 * @param from where the other begins in `others`.
 */
export function dot(one: Float32Array, others: Float32Array, from = 0): number {
  const end = one.length - (one.length % 4);
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let index = 0; index < end; index += 4) {
    a += one[index]! * others[from + index]!;
    b += one[index + 1]! * others[from + index + 1]!;
    c += one[index + 2]! * others[from + index + 2]!;
    d += one[index + 3]! * others[from + index + 3]!;
  }
  for (let index = end; index < one.length; index++) a += one[index]! * others[from + index]!;
  return a + b + c + d;
}

/** As the database keeps it: little endian. */
export function toBytes(vector: Float32Array): Buffer {
  const bytes = Buffer.alloc(vector.length * 4);
  vector.forEach((value, index) => {
    bytes.writeFloatLE(value, index * 4);
  });
  return bytes;
}

/** What {@link toBytes} made. */
export function fromBytes(bytes: Buffer): Float32Array {
  const vector = new Float32Array(bytes.length / 4);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let index = 0; index < vector.length; index++) vector[index] = view.getFloat32(index * 4, true);
  return vector;
}
