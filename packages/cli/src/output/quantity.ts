import { readRate, readSize } from '@volant/control/config/quantities.ts'
import { InvalidArgumentError } from 'commander'

/** `50M`, `1GiB/s`, `0`: bytes per second, for commander. */
export function rateArgument(text: string): number {
  const result = readRate(text)
  if ('problem' in result) throw new InvalidArgumentError(result.problem)
  return result.value
}

/** `20GiB`, `512M`: bytes, for commander. */
export function sizeArgument(text: string): number {
  const result = readSize(text)
  if ('problem' in result) throw new InvalidArgumentError(result.problem)
  return result.value
}

export function integerArgument(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`it must be a whole number from ${min} to ${max}`)
    }
    return value
  }
}
