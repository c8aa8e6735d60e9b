import type { SharePlane } from '../../test/share/plane.ts'

/** Throws where something is left, or a file system is not whole. */
export async function endShares(place: SharePlane): Promise<void> {
  const problems = await place.close()
  if (problems.length > 0) throw new Error(problems.join('; '))
}
