import { DomainError, messageOf } from '@volant/contract'
import { NbdClient } from './nbd-client.ts'
import type { NbdAddress } from './nbd-client.ts'

export interface ExpectedExport {
  /** UUID, as the export's description. */
  imageId: string
  sizeBytes: number
}

/**
 * Opens an export and checks that it is the one that is meant: by the UUID in its description and its size, never
 * by its address. Throws `unavailable` where it does not answer, `conflict` where it is another one.
 */
export async function openIdentified(
  address: NbdAddress,
  exportName: string,
  expected: ExpectedExport,
  timeoutMs = 3000,
): Promise<NbdClient> {
  let client: NbdClient
  try {
    client = await NbdClient.connect(address, exportName, timeoutMs)
  } catch (error) {
    throw new DomainError(
      'unavailable',
      `The export of image ${expected.imageId} does not answer: ${messageOf(error)}`,
      {
        cause: error,
      },
    )
  }
  const problem =
    client.description !== expected.imageId
      ? `it says that it serves ${client.description || 'an image without a name'}`
      : client.sizeBytes !== expected.sizeBytes
        ? `it has ${client.sizeBytes} bytes instead of ${expected.sizeBytes}`
        : undefined
  if (problem === undefined) return client
  client.close()
  throw new DomainError('conflict', `The export found is not that of image ${expected.imageId}: ${problem}.`)
}
