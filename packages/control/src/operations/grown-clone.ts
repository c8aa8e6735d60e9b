import type { Caller } from '@volant/contract'
import type { Copy } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'

/** A clone is as large as its origin, and grown then. One that has grown already is left as it is. */
export async function ensureGrownClone(
  { backend }: { backend: Pick<Backend, 'imageInfo' | 'ensureClone' | 'ensureImageSize'> },
  caller: Caller,
  copy: Copy,
  origin: Copy,
): Promise<void> {
  const found = await backend.imageInfo(copy)
  if (found !== undefined && found.sizeBytes >= copy.sizeBytes) return
  const clone = { ...copy, sizeBytes: origin.sizeBytes }
  await backend.ensureClone(caller, clone, origin)
  await backend.ensureImageSize(caller, clone, copy.sizeBytes)
}
