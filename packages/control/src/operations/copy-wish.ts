import { isDomainError } from '@volant/contract'

/**
 * Tells a copy's job a wish for it: its rate, a pause. A job that has ended since it was looked at takes none
 * (`notFound`; `conflict` where it is just ending), and that is no fault of the operation: the next look tells what
 * became of it. The governor has a wish several times a second, so this happens to each copy whose daemon dies.
 */
export async function tellUnlessEnded(wish: () => Promise<void>): Promise<void> {
  try {
    await wish()
  } catch (error) {
    if (!isDomainError(error) || (error.code !== 'notFound' && error.code !== 'conflict')) throw error
  }
}
