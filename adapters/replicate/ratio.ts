/** The one of `ratios` (as `16:9`) whose shape is nearest. */
export function nearestRatio(ratios: readonly string[], width: number, height: number): string {
  const distance = (ratio: string): number => {
    const [across = 1, down = 1] = ratio.split(':').map(Number);
    return Math.abs(Math.log(across / down / (width / height)));
  };
  return [...ratios].sort((a, b) => distance(a) - distance(b))[0]!;
}
