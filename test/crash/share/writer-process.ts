/**
 * The program that writes into a share's file system, in a process of its own: what hangs in the kernel with the file
 * system hangs here, and nowhere else. Each record is written and synced before its number is told.
 */
import { open } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { blockBytes, recordFor } from '../../dataplane/records.ts'
import type { FromWriter, ToWriter } from './writer.ts'

const tell = (message: FromWriter): void => void process.send?.(message)
let [path, next, slots, isPaused] = ['', 1, 0, true]

/** By its path each time, and never made: what is not mounted is not written below, and nobody is kept from unmounting. */
async function write(number: number): Promise<void> {
  const file = await open(path, 'r+')
  try {
    const slot = number % slots
    await file.write(recordFor(slot, number), 0, blockBytes, slot * blockBytes)
    await file.sync()
  } finally {
    await file.close()
  }
}

let goOn = (): void => {}
process.on('message', (message: ToWriter) => {
  isPaused = message.kind === 'rest'
  if (message.kind === 'go') [path, next, slots] = [message.path, 1, message.slots]
  if (!isPaused) goOn()
})
process.once('disconnect', () => process.exit(0))
for (;;) {
  if (isPaused) {
    const told = new Promise<void>((resolve) => (goOn = resolve))
    tell({ kind: 'resting' })
    await told
  }
  const number = next
  try {
    tell({ kind: 'begun', number })
    await write(number)
    next = number + 1
    tell({ kind: 'acknowledged', number })
  } catch (error) {
    tell({ kind: 'refused', number, reason: (error as NodeJS.ErrnoException).code ?? String(error) })
    await sleep(100)
  }
  await sleep(10)
}
