import { DomainError, isDomainError } from '@volant/contract'
import { QmpClosed, QmpError, QmpTimeout } from '@volant/qemu/qmp.ts'

/** Gives the errors of the data plane a place in Volant's list. */
export async function asDomainError<T>(task: () => Promise<T>): Promise<T> {
  try {
    return await task()
  } catch (error) {
    if (isDomainError(error) || !(error instanceof Error)) throw error
    if (error instanceof QmpTimeout || error instanceof QmpClosed) {
      throw new DomainError('unavailable', error.message, { cause: error })
    }
    if (error instanceof QmpError) throw new DomainError('conflict', error.message, { cause: error })
    throw error
  }
}
