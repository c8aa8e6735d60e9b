import assert from 'node:assert/strict'
import { test } from 'node:test'
import { QmpError } from '@volant/qemu/qmp.ts'
import type { Holder } from './holder.ts'
import { pauseMirror } from './mirror.ts'

/** A daemon whose job has this status, and which refuses the command with these words. */
function holderOf(status: string, refusal: string): { holder: Holder; commands: string[] } {
  const commands: string[] = []
  const execute = async (command: string): Promise<unknown> => {
    if (command === 'query-block-jobs') return [{ device: 'm-job', status, 'io-status': 'ok' }]
    commands.push(command)
    throw new QmpError('GenericError', refusal, command)
  }
  return { holder: { qmp: { execute }, record: {} } as unknown as Holder, commands }
}

test('a job that was paused and has not come to rest yet reads running; to pause it again changes nothing', async () => {
  const { holder, commands } = holderOf('running', 'Job is already paused')
  await pauseMirror(holder, 'job', true)
  assert.deepEqual(commands, ['block-job-pause'])
})

test('a job that an error stopped and that went on meanwhile needs no resume', async () => {
  const { holder, commands } = holderOf('paused', "Can't resume a job that was not paused")
  await pauseMirror(holder, 'job', false)
  assert.deepEqual(commands, ['block-job-resume'])
})

test('any other refusal is told', async () => {
  const { holder } = holderOf('running', "Job 'm-job' in state 'aborting' cannot accept command verb 'pause'")
  await assert.rejects(pauseMirror(holder, 'job', true), /cannot accept command verb/)
})
