import { DomainError } from '@volant/contract'
import { nothingToUndo, operation } from '@volant/saga'
import type { FlexVol } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { FlexVolRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { flexVolNameKeys, requireFreeName, unlessGone } from './create-flexvol.ts'

export interface RenameFlexVolInput {
  flexvolId: string
  cluster: string
  /** As it is recorded now. */
  flexvol: FlexVol
  /** As it is to be; one of them may be what it is. */
  name: string
  junctionPath: string
}

export interface RenameFlexVolPorts {
  flexvols: Pick<FlexVolRecords, 'list' | 'get' | 'find' | 'renameEmpty'>
  backend: Pick<Backend, 'ensureFlexVolAt' | 'ensureNoFlexVolAt'>
}

const renamed = ({ flexvol, name, junctionPath }: RenameFlexVolInput): FlexVol => ({
  ...flexvol,
  name,
  junctionPath,
})

/** Gives an empty FlexVol another name, which is its folder's too, or another junction path, which is its pool's. */
export const renameFlexVol = operation<RenameFlexVolInput, RenameFlexVolPorts>('flexvol.rename', {
  version: 1,
})
  .holds((input) => [
    ...new Set([
      `flexvol/${input.flexvolId}`,
      ...flexVolNameKeys(input.flexvol),
      ...flexVolNameKeys(renamed(input)),
    ]),
  ])

  .step('checkName', {
    do: async ({ input, ports }) => {
      requireFreeName(await ports.flexvols.list(), renamed(input))
      return null
    },
    undo: nothingToUndo,
  })

  .step('makeFolder', {
    do: async ({ op, input, ports }) => {
      if (input.name !== input.flexvol.name) {
        await ports.backend.ensureFlexVolAt(callerOf(op), renamed(input), input.flexvol)
      }
      return null
    },
    undo: async ({ op, input, ports }) => {
      if (input.name !== input.flexvol.name) {
        const { flexvol } = input
        await ports.backend.ensureNoFlexVolAt(callerOf(op), renamed(input), flexvol).catch(unlessGone)
      }
    },
    skipUndo: 'an empty folder stays behind on the aggregate, which keeps the aggregate from being deleted',
  })

  .commit('record', {
    do: async ({ input, ports }) => {
      if (await ports.flexvols.renameEmpty(input.flexvolId, input)) return null
      throw new DomainError(
        'conflict',
        `A volume has been made in FlexVol ${input.flexvol.name} meanwhile. Nothing was changed.`,
      )
    },
    happened: async ({ input, ports }) => {
      const now = await ports.flexvols.find(input.flexvolId)
      return now?.name === input.name && now.junctionPath === input.junctionPath
    },
  })

  .step('removeFormerFolder', {
    do: async ({ op, input, ports }) => {
      if (input.name !== input.flexvol.name) {
        await ports.backend.ensureNoFlexVolAt(callerOf(op), input.flexvol, input.flexvol)
      }
      return null
    },
    skip: 'an empty folder stays behind on the aggregate, which keeps the aggregate from being deleted',
  })
