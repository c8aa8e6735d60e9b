/** `--pace` and `--priority`, of every command that begins a copy. */
import { parsePace, parsePriority, paceText, type Pace } from '@volant/contract/ndo/pace.ts'
import { messageOf } from '@volant/contract/errors.ts'
import { InvalidArgumentError, type Command } from 'commander'

export interface PaceOptions {
  pace?: string
  priority?: string
}

const checked = (check: (text: string) => string): ((text: string) => string) => {
  return (text) => {
    try {
      return check(text)
    } catch (error) {
      throw new InvalidArgumentError(messageOf(error))
    }
  }
}

/** `2x`, `5ms`, `50M`, `full`, for commander. */
export const paceArgument = checked((text) => {
  const pace: Pace = parsePace(text)
  return paceText(pace)
})
export const priorityArgument = checked(parsePriority)

export const withPaceOptions = (command: Command): Command =>
  command
    .option(
      '--pace <pace>',
      "2x: its clients' p99 stays within twice what it was; 5ms: within 5 ms; 50M: a fixed rate; full",
      paceArgument,
    )
    .option('--priority <priority>', 'beside other copies: high, normal or low', priorityArgument)

/** As requests have them. */
export const paceWish = ({ pace, priority }: PaceOptions): PaceOptions => ({
  ...(pace !== undefined && { pace }),
  ...(priority !== undefined && { priority }),
})
