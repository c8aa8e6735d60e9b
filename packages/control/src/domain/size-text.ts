const mib = 1024 ** 2
const gib = 1024 ** 3

/** `1.5 GiB`, `20 MiB`, `512 bytes`: two decimals at most. */
export function sizeText(bytes: number): string {
  if (bytes >= gib) return `${rounded(bytes / gib)} GiB`
  return bytes >= mib ? `${rounded(bytes / mib)} MiB` : `${bytes} bytes`
}

const rounded = (value: number): string => String(Math.round(value * 100) / 100)

/** The least whole number of MiB that is enough: what can be given as a size. */
export const enoughText = (bytes: number): string => `${Math.ceil(bytes / mib)} MiB`
